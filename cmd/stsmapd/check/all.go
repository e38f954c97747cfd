package check

import (
	"context"
	"sync"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// maxDomains is the number of domains that are checked at a time.
const maxDomains = 24

// All checks domains, several at a time. It calls report with each report in the order of the domains, one call at a
// time, as soon as that and all before it are complete. After ctx has ended no more checks start, and report is not
// called any more.
func (c *Checker) All(ctx context.Context, to []dane.Destination, report func(*Report)) {
	reports := make([]chan *Report, len(to))
	for i := range reports {
		reports[i] = make(chan *Report, 1)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	next := make(chan int)
	for range min(maxDomains, len(to)) {
		workers.Go(func() {
			for i := range next {
				reports[i] <- c.Check(ctx, to[i], nil)
			}
		})
	}
	workers.Go(func() {
		defer close(next)
		for i := range to {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	for _, r := range reports {
		select {
		case done := <-r:
			if ctx.Err() != nil {
				return
			}
			report(done)
		case <-ctx.Done():
			return
		}
	}
}
