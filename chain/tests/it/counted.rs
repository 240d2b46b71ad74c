//! Storage in memory that counts what is asked of it, and what that costs on a chain.

use std::cell::Cell;

use cosmwasm_std::testing::MockStorage;
use cosmwasm_std::{Order, Record, Storage};

/// How long what a chain puts before a contract's keys is.
const PREFIX: u64 = 33;

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Asked {
    /// The values that were looked for, or found in a range.
    pub(crate) reads: u64,
    /// Those that were written or removed.
    pub(crate) writes: u64,
    /// Their bytes, with the keys.
    pub(crate) written: u64,
    /// By the prices of the Cosmos SDK (`KVGasConfig`). What is computed costs more beside.
    pub(crate) gas: u64,
}

#[derive(Default)]
pub(crate) struct Counted {
    storage: MockStorage,
    asked: Cell<Asked>,
}

impl Counted {
    /// What was asked since this was asked.
    pub(crate) fn take(&self) -> Asked {
        self.asked.take()
    }

    fn read(&self, flat: u64, key: &[u8], value: usize) {
        let bytes = PREFIX + (key.len() + value) as u64;
        let Asked { reads, gas, .. } = self.asked.get();
        self.asked.set(Asked { reads: reads + 1, gas: gas + flat + 3 * bytes, ..self.asked.get() });
    }

    fn write(&self, gas: u64, bytes: usize) {
        let asked = self.asked.get();
        self.asked.set(Asked {
            writes: asked.writes + 1,
            written: asked.written + bytes as u64,
            gas: asked.gas + gas,
            ..asked
        });
    }
}

impl Storage for Counted {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.storage.get(key);
        self.read(1_000, key, value.as_ref().map_or(0, Vec::len));
        value
    }

    fn range<'a>(
        &'a self,
        start: Option<&[u8]>,
        end: Option<&[u8]>,
        order: Order,
    ) -> Box<dyn Iterator<Item = Record> + 'a> {
        let found = self.storage.range(start, end, order);
        Box::new(found.inspect(|(key, value)| self.read(30, key, value.len())))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let bytes = key.len() + value.len();
        self.write(2_000 + 30 * (PREFIX + bytes as u64), bytes);
        self.storage.set(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.write(1_000, key.len());
        self.storage.remove(key);
    }
}
