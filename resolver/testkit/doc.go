// Package testkit is what tests everywhere use. It imports nothing of ours.
//
// It says what a run of the tests covers, and tells the run what was left out, so that its last lines say so: a test
// that is skipped in silence looks like one that has passed (leftout.go). It waits for what comes by itself, without a
// sleep whose length would be a guess (wait.go). It judges times by what the machine does at the same moment: other
// programs may keep it busy, and a bound of so many seconds would be one on them (pace.go).
package testkit
