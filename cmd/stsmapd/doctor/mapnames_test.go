package doctor

import (
	"testing"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

// TestDiagnoseConfiguredMapNames: names of [maps] are as good as lists, and are judged by the features behind them.
func TestDiagnoseConfiguredMapNames(t *testing.T) {
	names := tlspolicy.NewMapNames(map[string]tlspolicy.Features{
		"office": {Strict: true}, "rich": {TLSRPT: true}, "postfix": {Strict: true}})
	with := func(version, name string) *host {
		h := soundHost(version).maps(ourMap+name).answer(defaultServer, Stsmapd, name)
		h.MapNames = names
		return h
	}
	for _, c := range []diagnosisCase{
		{"a zone", with("3.7.11", "office"), nil, nil},
		{"another daemon's name with another meaning", with("3.7.11", "postfix"), nil, nil},
		{"a name that asks for too much", with("3.7.11", "rich"), []string{"error unknown-attributes"},
			lines{policyMaps: ourMap + "sts"}},
		{"a name that asks for too little", with("3.11.7", "office"), []string{"warning no-tlsrpt"},
			lines{policyMaps: ourMap + "sts+tlsrpt+strict"}},
		{"a zone of which the running stsmapd has not been told yet",
			with("3.7.11", "office").answer(defaultServer, UnknownMap, "office"), []string{"error unknown-map-name"},
			nil},
		{"a zone in a table that is no socketmap", with("3.7.11", "sts").maps("inet:127.0.0.1:8461:office"),
			[]string{"error map-malformed"}, lines{policyMaps: ourMap + "office"}},
	} {
		t.Run(c.why, c.run)
	}
}
