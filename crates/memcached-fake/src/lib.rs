//! memcached-fake.
