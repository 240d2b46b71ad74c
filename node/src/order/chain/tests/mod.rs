mod mirrored;
mod real_chain;
