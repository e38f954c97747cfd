// Package torture breaks the machine under a running stsmapd, and holds it to its promises meanwhile.
//
// It runs the real binary on real sockets, in the world of cmd/stsmapd/e2e/world, against a crowd of domains whose
// policies change. An [Oracle] knows what every domain has published and what was ever answered, and judges each
// answer: to forget a policy that was answered and still lives, to answer one that was never published, one that is
// over, or an older one than before, is wrong, whatever has happened to the disk, the memory, the network or the
// process. To answer TEMP, or nothing at all, is not: Postfix keeps the mail and asks again; but it is counted, and
// must end soon after the fault has.
//
// `make torture` runs all of it and prints a table, a line a fault; `make test` a shorter form. The soak, a
// run of hours that looks for leaks, is in cmd/stsmapd/e2e/torture/soak.
package torture
