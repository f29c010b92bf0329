//! memcache-client.
