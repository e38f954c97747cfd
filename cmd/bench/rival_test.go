package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMeasureInTurns: every daemon is measured in each round, and one that fails spoils no other's figures.
func TestMeasureInTurns(t *testing.T) {
	var order []string
	launch := func(name string) subject {
		return subject{name: name, launch: func(context.Context, daemonConfig) (*server, error) {
			order = append(order, name)
			if name == "broken" && len(order) > 3 {
				return nil, errors.New("it crashed")
			}
			return nil, nil
		}}
	}
	small := launch("small")
	small.most = 10
	r := row{name: "row", rivals: true, domains: 11, targets: []target{{what: "a figure", must: 1}},
		run: func(b *bench, ctx context.Context) (result, error) {
			return b.repeat(ctx, func(round int) (sample, error) {
				_, err := b.launch(ctx, daemonConfig{})
				return sample{values: []float64{float64(round)}}, err
			})
		}}
	b := &bench{options: options{rounds: 3}}
	lines, err := b.measureInTurns(t.Context(), r, []subject{launch(""), launch("broken"), launch("other"), small})
	if err == nil || !strings.Contains(err.Error(), "broken: it crashed") {
		t.Error(err)
	}
	if got := strings.Join(order, " "); got != " broken other  broken other  other" {
		t.Errorf("%q", got)
	}
	if len(lines) != 2 || lines[0].row != "row" || lines[1].row != "other: row" || len(lines[1].values) != 3 ||
		lines[1].values[2] != 2 || lines[0].target.must != 1 || lines[1].target.verdict(2) != "–" {
		t.Errorf("%+v", lines)
	}
	order = nil
	r.once, r.domains = true, 10
	if lines, err := b.measureInTurns(t.Context(), r, []subject{launch(""), small}); err != nil || len(lines) != 2 ||
		len(lines[1].values) != 1 || b.rounds != 3 || b.first != 0 {
		t.Errorf("%+v %v", lines, err)
	}
}

func TestFindRivals(t *testing.T) {
	b := &bench{options: options{rival: t.TempDir()}}
	if _, err := b.findRivals(); err == nil || !strings.Contains(err.Error(), "rival.sh") {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(b.rival, "postfix-tlspol"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := b.findRivals(); err != nil || len(found) != 1 || found[0].name != "postfix-tlspol" {
		t.Errorf("%+v %v", found, err)
	}
}
