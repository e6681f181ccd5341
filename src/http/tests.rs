//! The whole HTTP side, asked over a loopback port.
mod accounts;
mod delivery;
mod limits;
mod problems;
mod serving;
mod thumbnails;
mod videos;
mod whip;
