package config

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

const settingsFile = "../../../packaging/stsmapd.toml"

// TestSettingsAreDocumented: every setting is in the commented configuration file (and so in stsmapd.toml(5), which is
// made of it, as is packaging/docs/configuration.md), with the default that it has.
func TestSettingsAreDocumented(t *testing.T) {
	c := Defaults()
	want := slices.Sorted(slices.Values(slices.Concat(keys(c.settings()), keys((&override{}).settings()),
		[]string{mapsTable + ".office"})))
	commented := regexp.MustCompile(`(?m)^#(\S)`).ReplaceAllString(readFile(t, settingsFile), "$1")
	for file, text := range map[string]string{settingsFile: commented} {
		var all map[string]any
		if err := toml.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := slices.Sorted(maps.Keys(flat(all, ""))); !slices.Equal(got, want) {
			t.Errorf("%s has the settings\n%q\nwant\n%q", file, got, want)
		}
		got := Defaults()
		if err := got.read([]byte(text)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if n := len(got.Overrides.All()); n != 1 {
			t.Errorf("%s: %d overrides", file, n)
		}
		if got.Control == nil || *got.Control != "unix:"+SystemControl {
			t.Errorf("%s: control is not %s", file, SystemControl)
		}
		if len(got.Maps.all) != 1 {
			t.Errorf("%s: %d map names", file, len(got.Maps.all))
		}
		got.Control, got.Maps = nil, Maps{}
		compare(t, file, got)
	}
}

// compare compares the settings of a file with the defaults.
func compare(t *testing.T, file string, got Config) {
	t.Helper()
	want := Defaults()
	for i, s := range got.settings() {
		if w := want.settings()[i]; s.value.String() != w.value.String() {
			t.Errorf("%s: %s is %s, not the default %s", file, s.key, s.value, w.value)
		}
	}
}

// TestSettingsFileAsInstalled: with everything commented out, the file changes nothing.
func TestSettingsFileAsInstalled(t *testing.T) {
	got, err := Load(settingsFile)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, settingsFile, got)
	if len(got.line) > 0 || !reflect.DeepEqual(got.Overrides.All(), Defaults().Overrides.All()) {
		t.Errorf("it sets %v", got.line)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
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
