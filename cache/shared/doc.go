// Package shared lets the hosts of a fleet share their policies through a Valkey or Redis engine.
//
// What one stsmapd fetches, the others read from the engine, so that a fleet of a hundred hosts asks a policy host
// once. A value is a policy's record (cache/record) under the policy domain's key, with a letter and a time by which a
// script at the engine decides which of two values is newer. A message tells the other hosts that a value has changed.
// Before a host fetches, it claims one of three slots of the domain and id, so that one host fetches at a time, and
// three may fail.
//
// No host needs the engine. While it is away, slow, full or wrong, each host continues with its own store, and pushes
// what it learnt meanwhile when the engine is back. What comes from the engine is parsed as strictly as what comes from
// the network, through a guard (cache/shared/guard) that keeps a broken engine from ending the process.
package shared
