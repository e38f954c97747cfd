package txtrecord

import "testing"

func TestFind(t *testing.T) {
	const version = "v=STSv1"
	for _, c := range []struct {
		why  string
		txts []string
		want Found
	}{
		{"nothing", nil, Found{}},
		{"other kinds are ignored", []string{"v=spf1 -all", "v=STSv2; id=1", "x; v=STSv1;", "v=STSv1x; id=1"}, Found{}},
		{"the version is case-sensitive", []string{"v=stsv1; id=1"}, Found{}},
		{"one", []string{"a", "v=STSv1; id=1;"}, Found{Count: 1, Record: "v=STSv1; id=1;", Fields: " id=1;"}},
		{"space before the semicolon", []string{"v=STSv1 \t;id=1"},
			Found{Count: 1, Record: "v=STSv1 \t;id=1", Fields: "id=1"}},
		{"no field", []string{"v=STSv1;"}, Found{Count: 1, Record: "v=STSv1;"}},
		{"no semicolon is no record", []string{"v=STSv1 "}, Found{BareVersion: true}},
		{"a bare version beside a record", []string{"v=STSv1", "v=STSv1;id=2"},
			Found{Count: 1, Record: "v=STSv1;id=2", Fields: "id=2", BareVersion: true}},
		{"two", []string{"v=STSv1;id=1", "v=STSv1;id=2"}, Found{Count: 2, Record: "v=STSv1;id=2", Fields: "id=2"}},
	} {
		if got := Find(c.txts, version); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.why, got, c.want)
		}
	}
}
