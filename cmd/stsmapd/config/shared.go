package config

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/shared"
)

// Shared is the table [shared]: the engine through which hosts share policies.
type Shared struct {
	URL                  string // "": none
	PasswordFile         string
	SentinelPasswordFile string
	CAFile               string
	Prefix               string
	Name                 string // of this host; "": its host name
	Timeout              time.Duration
}

func defaultShared() Shared {
	return Shared{Prefix: shared.DefaultPrefix, Timeout: shared.DefaultBudget}
}

// Endpoint returns the address of the engine with its password and CA files, which it reads once to check them.
// credentials is the directory of systemd's credentials, "" for none. The error is an *Error.
func (c *Config) Endpoint(credentials string) (shared.Endpoint, error) {
	e, err := shared.ParseEndpoint(c.Shared.URL)
	if err != nil {
		return e, c.Wrong("shared.url", err)
	}
	e.PasswordFile, e.SentinelPasswordFile = c.Shared.PasswordFile, c.Shared.SentinelPasswordFile
	e.CAFile = c.Shared.CAFile
	if e.PasswordFile == "" {
		e.PasswordFile = credential(credentials, shared.PasswordCredential)
	}
	if e.SentinelPasswordFile == "" {
		e.SentinelPasswordFile = credential(credentials, shared.SentinelPasswordCredential)
	}
	if err := e.Check(); err != nil {
		key, _, _ := strings.Cut(err.Error(), ":")
		return e, c.At(key, err.Error())
	}
	return e, nil
}

// credential returns the path of a systemd credential, or "" if there is none.
func credential(dir, name string) string {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); dir == "" || err != nil {
		return ""
	}
	return path
}
