package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// licences are those that a module may have, and a text that only such a licence has.
func licences() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"MIT": regexp.MustCompile(
			`(?s)Permission is hereby granted, free of charge.*WITHOUT WARRANTY OF ANY KIND`),
		"BSD": regexp.MustCompile(
			`(?s)Redistribution and use in source and binary forms.*THIS SOFTWARE IS PROVIDED`),
		"Apache 2.0": regexp.MustCompile(`(?s)Apache License\s+Version 2\.0, January 2004.*TERMS AND CONDITIONS`),
	}
}

// TestLicences: each module is the one of go.sum, and each that the binary is linked with has a licence that lets it be
// given to anyone.
func TestLicences(t *testing.T) {
	verify := exec.Command("go", "mod", "verify") // each module is what go.sum says
	verify.Dir = root
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("go mod verify: %v\n%s", err, out)
	}
	list := exec.Command("go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", "./cmd/stsmapd")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			modules[path] = dir
		}
	}
	if len(modules) < 10 {
		t.Fatalf("only %d modules: %v", len(modules), modules)
	}
	for path, dir := range modules {
		files, err := filepath.Glob(filepath.Join(dir, "LICEN[SC]E*"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no licence (%v)", path, err)
			continue
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
			}
			kind := ""
			for name, has := range licences() {
				if has.Match(text) {
					kind = name
				}
			}
			if kind == "" {
				t.Errorf("%s: %s is a licence of no kind that is allowed", path, filepath.Base(file))
			}
			t.Logf("%s: %s", path, kind)
		}
	}
}
