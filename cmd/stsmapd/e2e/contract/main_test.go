// Package contract holds the answers to what each Postfix that is supported does with them: it delivers mail under
// every kind of policy, by MTA-STS and by DANE, and looks at what went over the wire and what was reported.
package contract

import (
	"os"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
