//! A CometBFT for tests: a client of the application's socket that does what CometBFT does.
