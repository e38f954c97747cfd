//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// terminalCommands has none here: the tests open terminals as Linux does.
func terminalCommands() map[string]func(*testscript.TestScript, bool, []string) { return nil }
