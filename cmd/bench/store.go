package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/stsmapd/stsmapd/cache/store"
	"github.com/stsmapd/stsmapd/cmd/bench/internet"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// store makes a state directory with the policies of the first domains of the zone Kept, all fetched now.
func (b *bench) store(policies int) (dir string, err error) { return b.storeOf(policies, 0) }

// storeOf is store with policies that were fetched so long ago.
func (b *bench) storeOf(policies int, age time.Duration) (dir string, err error) {
	b.started++
	dir = filepath.Join(b.dir, fmt.Sprintf("store-%d", b.started))
	store, err := store.Open(filepath.Join(dir, "policies.db"),
		nil)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC().Truncate(time.Second)
	const writers = 1000 // they share commits
	failed := make(chan error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < policies; i += writers {
				e, err := entry(internet.Domain(internet.Kept, i), now, age)
				if err == nil {
					err = store.Put(context.Background(), e)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return dir, errors.Join(err, store.Close())
}

func entry(name string, now time.Time, age time.Duration) (resolver.Entry, error) {
	domain, err := dnsname.Parse(name)
	if err != nil {
		return resolver.Entry{}, err
	}
	p, err := mtasts.ParsePolicy([]byte(internet.PolicyText(name)))
	return resolver.Entry{Domain: domain, ID: "1", Policy: p, Fetched: now.Add(-age), Checked: now, Used: now}, err
}
