mod fetched;
mod mirrored;
mod real_chain;
mod two_headers;
