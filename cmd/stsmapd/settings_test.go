package main

import (
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// TestSettingsAreDocumented: every setting is in the commented configuration file (and so in stsmapd.toml(5), which is
// made of it) and in README.md, with the default that it has.
func TestSettingsAreDocumented(t *testing.T) {
	want := slices.Sorted(maps.Keys(keysOf(reflect.TypeFor[config](), "")))
	_, readme, _ := strings.Cut(readFile(t, "../../README.md"), "```toml\n")
	readme, _, _ = strings.Cut(readme, "```\n")
	commented := regexp.MustCompile(`(?m)^#(\S)`).ReplaceAllString(readFile(t, settingsFile), "$1")
	for file, text := range map[string]string{"README.md": readme, settingsFile: commented} {
		var all map[string]any
		if err := toml.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := slices.Sorted(maps.Keys(flat(all, ""))); !slices.Equal(got, want) {
			t.Errorf("%s has the settings\n%q\nwant\n%q", file, got, want)
		}
		got := defaults()
		if err := toml.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if _, err := overrides(got.Override); err != nil || len(got.Override) != 1 {
			t.Errorf("%s: the override of its example: %v", file, err)
		}
		if at := "unix:" + filepath.Join(systemRuntimeDir, controlName); got.Control == nil || *got.Control != at {
			t.Errorf("%s: control is not %s", file, at)
		}
		got.Override, got.Control = nil, nil
		if len(got.DNS.Servers) == 0 {
			got.DNS.Servers = nil // empty is as good as none
		}
		if want := defaults(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the settings are\n%+v\nnot the defaults\n%+v", file, got, want)
		}
	}
}

// TestSettingsFileAsInstalled: with everything commented out, the file changes nothing.
func TestSettingsFileAsInstalled(t *testing.T) {
	got, err := loadConfig(settingsFile)
	if err != nil {
		t.Fatal(err)
	}
	got.file = ""
	if want := defaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// keysOf are the keys that a configuration struct knows, those of its tables with a dot.
func keysOf(of reflect.Type, prefix string) map[string]bool {
	keys := map[string]bool{}
	for i := range of.NumField() {
		field := of.Field(i)
		name, inner := field.Tag.Get("toml"), field.Type
		if name == "" {
			continue
		}
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			maps.Copy(keys, keysOf(inner, prefix+name+"."))
			continue
		}
		keys[prefix+name] = true
	}
	return keys
}

// flat are the keys of a decoded file, in the same way.
func flat(table map[string]any, prefix string) map[string]bool {
	keys := map[string]bool{}
	for name, value := range table {
		switch value := value.(type) {
		case map[string]any:
			maps.Copy(keys, flat(value, prefix+name+"."))
			continue
		case []any:
			if len(value) > 0 {
				if inner, ok := value[0].(map[string]any); ok {
					maps.Copy(keys, flat(inner, prefix+name+"."))
					continue
				}
			}
		}
		keys[prefix+name] = true
	}
	return keys
}
