// Package torture injects faults into the machine under a running stsmapd, and judges every answer meanwhile.
//
// It runs the real binary on real sockets, in a World of cmd/stsmapd/e2e/world, against many domains whose policies
// change. An [Oracle] knows what each domain has published and what was answered, and judges each answer. It is wrong
// to forget a live policy that was answered, and to answer a policy that was never published, that has expired, or that
// is older than one answered before, whatever happens to the disk, the memory, the network or the process. TEMP, or no
// answer, is not wrong, because Postfix keeps the mail and asks again; but it is counted, and must end soon after the
// fault.
//
// `make torture` runs all faults and prints a table with a line for each; `make test` runs a shorter form. The soak, a
// run of hours that looks for leaks, is in cmd/stsmapd/e2e/torture/soak.
package torture
