// Package load holds the tests that need many domains and the real memory and store: a flood of domains without a
// policy, a week's arrears of refreshes, a store of a million policies. The DNS and the policy hosts are fakes, which
// answer millions of lookups in seconds. They run without the race detector, whose own memory would be measured; `make
// test` runs them alone.
package load
