//! What the chain's machine calls, by these names. It takes functions that are not mangled, which is the one
//! thing here that the compiler calls unsafe.
#![allow(unsafe_code)]

use cosmwasm_std::{do_execute, do_instantiate, do_query};

use crate::contract;

#[unsafe(no_mangle)]
extern "C" fn instantiate(env: u32, info: u32, message: u32) -> u32 {
    do_instantiate(&contract::instantiate, env, info, message)
}

#[unsafe(no_mangle)]
extern "C" fn execute(env: u32, info: u32, message: u32) -> u32 {
    do_execute(&contract::execute, env, info, message)
}

#[unsafe(no_mangle)]
extern "C" fn query(env: u32, message: u32) -> u32 {
    do_query(&contract::query, env, message)
}
