mod fetched;
mod mirrored;
mod real_chain;
mod solo;
mod two_headers;
