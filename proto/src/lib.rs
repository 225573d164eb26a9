//! Generated clients, servers and descriptors of every contract in proto/.
