"""A learner server of the genuine original package, for test_genuine.py: run by its interpreter.

``python genuine_server.py PRIVATE_NUMBER`` prints its port.
"""

import sys
from concurrent import futures

import colearn_grpc.proto.generated.interface_pb2_grpc as service
import grpc
import numpy as np
from colearn.ml_interface import MachineLearningInterface, ProposedWeights, Weights
from colearn_grpc.grpc_learner_server import GRPCLearnerServer
from colearn_grpc.mli_factory_interface import MliFactory

PRIVATE = float(sys.argv[1])


class Guess(MachineLearningInterface):
    """Guesses a private number; large enough for several parts."""

    def __init__(self):
        self.w = np.zeros(700_000)

    def mli_propose_weights(self):
        return Weights(weights=self.w + 0.5 * (PRIVATE - self.w))

    def _error(self, w):
        return float(abs(w[0] - PRIVATE))

    def mli_test_weights(self, weights):
        new, old = self._error(weights.weights), self._error(self.w)
        return ProposedWeights(weights=weights, vote_score=-new, test_score=-new, vote=new <= old)

    def mli_accept_weights(self, weights):
        self.w = weights.weights

    def mli_get_current_weights(self):
        return Weights(weights=self.w)


class Factory(MliFactory):
    def get_models(self):
        return {"GUESS": {}}

    def get_dataloaders(self):
        return {"NUMBERS": {}}

    def get_compatibilities(self):
        return {"GUESS": {"NUMBERS"}}

    def get_mli(self, model_name, model_params, dataloader_name, dataset_params):
        if dataloader_name != "NUMBERS":
            raise ValueError("no data loader " + dataloader_name)
        return Guess()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=5))
service.add_GRPCLearnerServicer_to_server(GRPCLearnerServer(Factory()), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
