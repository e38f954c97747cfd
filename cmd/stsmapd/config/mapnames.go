package config

import (
	"strings"

	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

const mapsTable = "maps"

// mapName is a name of [maps], with the list of features that it stands for.
type mapName struct{ name, list string }

// setting returns the setting of the name.
func (m *mapName) setting() setting {
	check := func(list string) error {
		if _, ok := tlspolicy.ParseFeatures(list); !ok {
			return errKind
		}
		return nil
	}
	return setting{mapsTable + "." + m.name, text{&m.list, check},
		`"sts", or "sts" with more of +dane +tlsrpt +strict +defer +nosni +shadow, such as "sts+strict"`}
}

// Maps is the table [maps].
type Maps struct{ all []*mapName }

// Names returns the map names that are answered.
func (m Maps) Names() tlspolicy.MapNames {
	names := map[string]tlspolicy.Features{}
	for _, one := range m.all {
		names[one.name], _ = tlspolicy.ParseFeatures(one.list) // addMapName has checked it
	}
	return tlspolicy.NewMapNames(names)
}

// Given returns the names that the file has.
func (m Maps) Given() (names []string) {
	for _, one := range m.all {
		names = append(names, one.name)
	}
	return names
}

// settings returns those that the file has.
func (m Maps) settings() []setting {
	var all []setting
	for _, one := range m.all {
		all = append(all, one.setting())
	}
	return all
}

// addMapName reads an entry: the head of [maps], or a name in it.
func (c *Config) addMapName(e entry) error {
	_, isTable := e.value.(map[string]any)
	if e.key == mapsTable {
		if !isTable {
			return c.errorAt(e.line, "maps is "+describe(e.value)+", must be a table: [maps]")
		}
		return nil
	}
	m := &mapName{name: strings.TrimPrefix(e.key, mapsTable+".")}
	if err := tlspolicy.CheckMapName(m.name); err != nil {
		return c.errorAt(e.line, "maps has the name "+quote(m.name)+": "+err.Error()+"; choose another")
	}
	s := m.setting()
	if err := s.value.set(e.value); err != nil {
		return c.errorAt(e.line, s.wrong(describe(e.value), err))
	}
	c.Maps.all = append(c.Maps.all, m)
	c.located(e)
	return nil
}
