// Package model checks stsmapd against a model of what may be answered: RFC 8461 and stsmapd's own rules, written down
// a second time in plain, slow code that shares nothing with the service but the published policy's text.
//
// A Script is a list of events: a publisher announces an id, changes a file, breaks; Postfix asks; time passes; the
// clock is set; the daemon is stopped or killed; the disk fails. Run plays a script to a real resolver.Service, under
// testing/synctest, with the real memory, the real handler of Postfix's questions, and a fake DNS, web and disk (or the
// real store). The Model watches what the service asks of the fakes and what it answers: what may be answered now is a
// set, since a check in the background makes both the old policy and the new one right for a moment, and an unsynced
// write may or may not have survived a kill. An answer outside of the set is a Violation, and so is a lookup of a TXT
// record, a fetch of a new id or a refresh that was due and did not happen.
//
// A script may have other hosts, which share an engine with the daemon: they tell of policies, fail, die and forget,
// and the engine goes away or what it tells gets lost. What other hosts tell may be answered once the daemon has
// written it; what failed there says nothing of this host, which tells the others of no fault of its own.
//
// Generate makes a script from a seed, GenerateFleet one with other hosts, Shrink cuts a failing one down, and its text
// is a file that a test replays.
package model
