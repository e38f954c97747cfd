// Package testkit has what tests of all packages use. It imports no other package of this module.
//
// leftout.go decides what a run of the tests covers, and records what is left out: a test that is skipped silently
// looks like one that has passed. wait.go waits for conditions, without a sleep whose length would be a guess. watch.go
// bounds times by a reference that runs at the same moment: other programs may keep the machine busy, and a bound in
// absolute seconds would depend on them.
package testkit
