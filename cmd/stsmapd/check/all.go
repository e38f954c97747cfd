package check

import (
	"context"
	"sync"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// maxDomains is how many domains are checked at a time.
const maxDomains = 8

// All checks domains, several at a time, and gives each report to report as soon as it and all before it are there: in
// the order of the domains, one call at a time. After ctx has ended no more checks begin, and none is reported any
// more.
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
