//! Switches a network's own interface on, which is off in a new one.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::enclosure::inside::{Refused, refused};

/// `AF_NETLINK`, `SOCK_RAW` and `NETLINK_ROUTE` (`netlink(7)`).
const NETLINK: i32 = 16;
const RAW: i32 = 3;
const ROUTE: i32 = 0;

/// `RTM_NEWLINK` (`rtnetlink(7)`), and that an answer is wanted.
const NEW_LINK: u16 = 16;
const REQUEST_AND_ANSWER: u16 = 1 | 4;

/// The number of the loopback in every network, and the flag that it is on.
const LOOPBACK: i32 = 1;
const ON: u32 = 1;

/// How long a message is: its head, and the head of an interface.
const LENGTH: u32 = 32;

/// Where the answer says what was wrong.
const ERROR_AT: std::ops::Range<usize> = 16..20;

/// Switches the loopback on.
pub(super) fn switch_on() -> Result<(), Refused> {
    let switched = || -> io::Result<()> {
        let socket =
            Socket::new(Domain::from(NETLINK), Type::from(RAW), Some(Protocol::from(ROUTE)))?;
        socket.send(&message())?;
        let mut answer = [0; 1024];
        let length = io::Read::read(&mut &socket, &mut answer)?;
        let error = answer.get(ERROR_AT).filter(|_| length >= ERROR_AT.end);
        match error.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    switched().map_err(refused("switch the loopback on"))
}

fn message() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(NEW_LINK.to_ne_bytes());
    bytes.extend(REQUEST_AND_ANSWER.to_ne_bytes());
    // Its number, who sends it, and the family of addresses with the type of hardware.
    bytes.extend([0; 12]);
    bytes.extend(LOOPBACK.to_ne_bytes());
    bytes.extend(ON.to_ne_bytes());
    bytes.extend(ON.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_as_long_as_it_says() {
        assert_eq!(message().len(), LENGTH as usize);
    }
}
