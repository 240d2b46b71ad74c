mod departed;
mod fetched;
mod mirrored;
mod real_chain;
mod solo;
mod submitted;
mod two_headers;
