package main

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/deliveries"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
)

// TestDeliveriesHelp: the help documents every member of the JSON output, and every reason.
func TestDeliveriesHelp(t *testing.T) {
	documented := map[string]bool{}
	for _, word := range regexp.MustCompile(`[a-z0-9_-]+`).FindAllString(newDeliveries().Long, -1) {
		documented[word] = true
	}
	for _, name := range members(reflect.TypeFor[deliveries.Summary]()) {
		if !documented[name] {
			t.Errorf("the member %q is not in the help", name)
		}
	}
	for r := maillog.NoReason + 1; r < maillog.ReasonCount; r++ {
		if !documented[r.String()] {
			t.Errorf("the reason %q is not in the help", r)
		}
	}
}

// members are the names of all JSON members of a type, those of its parts among them.
func members(of reflect.Type) []string {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		return members(of.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var names []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		if name != "" {
			names = append(append(names, name), members(of.Field(i).Type)...)
		}
	}
	return names
}
