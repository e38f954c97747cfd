package resolver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stsmapd/stsmapd/resolver/fair"
)

// TestFast: so many fast lookups at once; one that is over, or slow, makes room, each once; who waits is served in
// order.
func TestFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newLookupLimiter(2)
		start := time.Now()
		order := make(chan int, 10)
		begin := func(i int) (done func()) {
			t.Helper()
			done, err := f.begin(t.Context(), fair.Owners{})
			if err != nil {
				t.Fatal(err)
			}
			order <- i
			return done
		}
		expect := func(why string, after time.Duration, want ...int) {
			t.Helper()
			<-time.After(time.Until(start.Add(after)))
			synctest.Wait()
			for _, w := range want {
				select {
				case i := <-order:
					if i != w {
						t.Fatalf("%s: lookup %d began, want %d", why, i, w)
					}
				default:
					t.Fatalf("%s: lookup %d has not begun", why, w)
				}
			}
			if len(order) > 0 {
				t.Fatalf("%s: lookup %d began too", why, <-order)
			}
		}
		over := begin(1)
		slow := begin(2)
		for i := 3; i <= 5; i++ {
			go func() {
				done := begin(i)
				<-time.After(10 * time.Second)
				done()
			}()
			synctest.Wait()
		}
		expect("two are under way", time.Millisecond, 1, 2)
		over()
		expect("one is over", time.Millisecond, 3)
		expect("the others are not slow yet", slowLookup-time.Millisecond)
		expect("one is slow", slowLookup, 4)
		slow() // it has made room before
		expect("no second room for one lookup", slowLookup)
		expect("the third is slow", slowLookup+time.Millisecond, 5)

		full := newLookupLimiter(0)
		if _, err := full.begin(t.Context(), fair.Owners{}); err == nil || time.Since(start) < queueLimit {
			t.Errorf("without room: %v after %v, want an error after %v", err, time.Since(start), queueLimit)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := full.begin(ctx, fair.Owners{}); err == nil {
			t.Error("begun though nobody wants it any more")
		}
	})
}
