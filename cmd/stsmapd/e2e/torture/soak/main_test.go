// Package soak runs a stsmapd for hours while the domains change all the time, and checks that its memory, files,
// goroutines and store do not grow. `make soak HOURS=2 RATE=2000` runs it for that long; `make test` runs it for some
// seconds, which shows only that every answer is right.
package soak

import (
	"os"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
