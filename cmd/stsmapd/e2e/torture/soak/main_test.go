// Package soak runs a stsmapd for hours in a world that changes all the time, and looks whether its memory, files,
// goroutines and store stay the same. `make soak HOURS=2 RATE=2000` runs it for that long; `make test` for some
// seconds, which shows only that every answer is right.
package soak

import (
	"os"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
