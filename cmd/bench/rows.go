package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// row is one or more lines of the table.
type row struct {
	name    string
	rivals  bool // other daemons can be measured too
	once    bool // a second round would say the same
	domains int  // that the daemon has to remember
	targets []target
	run     func(*bench, context.Context) (result, error) // measures a value for each target in each round
}

// rows returns all that is measured, in the order of the table.
func rows(s sizes) []row {
	none := math.NaN()
	ratio := func(what string, must, aim float64) target {
		return target{what: what, must: must, aim: aim, digits: 2}
	}
	return []row{
		{name: "live", rivals: true, targets: []target{
			ratio("live policy, 100 connections, unix: CPU over echo's", 1.15, 1),
			ratio("live policy, 100 connections, tcp: CPU over echo's", 1.10, 1),
		}, run: (*bench).live},
		{name: "absent", rivals: true, targets: []target{
			ratio("remembered NOTFOUND, 100 connections, unix: CPU over echo's", 1.15, 1),
			ratio("remembered NOTFOUND, 100 connections, tcp: CPU over echo's", 1.10, 1),
		}, run: (*bench).absent},
		{name: "allocations", targets: []target{
			{what: "allocations for a live policy", must: 0, aim: none, digits: 1},
		}, run: (*bench).allocationsPerQuestion},
		{name: "cold", rivals: true, targets: []target{
			{what: "cold, 20 ms away, 100 connections, 5 % with a policy: p50", unit: "ms", must: 24, aim: 21,
				digits: 1},
			{what: "cold: CPU per lookup", unit: "us", must: 150, aim: 80},
			{what: "cold: DNS queries per 5,000 names", must: 5500, aim: none},
		}, run: (*bench).coldLookups},
		{name: "warm", rivals: true, targets: []target{
			{what: "warm p99 beside unbounded misses, over echo's beside the same", must: 2, aim: 1.2, digits: 2},
		}, run: (*bench).warmBesideMisses},
		{name: "negatives", rivals: true, once: true, domains: s.negatives, targets: []target{
			{what: "resident memory for a domain without a policy", unit: "B", must: 45, aim: none},
		}, run: (*bench).memoryOfNegatives},
		{name: "policies", targets: []target{
			{what: "resident memory for an enforce policy in use", unit: "B", must: 550, aim: none},
		}, run: (*bench).memoryOfPolicies},
		{name: "start", targets: []target{
			{what: "first answer with 10,000 stored policies, over one", unit: "ms", must: 3, aim: none, digits: 1},
			{what: "first answer with 100,000 stored policies, over one", unit: "ms", must: 3, aim: none, digits: 1},
			{what: "first answer with 1,000,000 stored policies, over one", unit: "ms", must: 20, aim: none, digits: 1},
		}, run: (*bench).firstAnswer},
		{name: "walk", targets: []target{
			ratio("CPU of the walk over 100,000 stored policies, for each, over 10,000", 1.3, none),
			ratio("CPU of the walk over 1,000,000 stored policies, for each, over 10,000", 1.3, none),
		}, run: (*bench).walks},
		{name: "refresh", targets: []target{
			ratio("CPU of a refresh with 100,000 policies due, over 10,000", 1.3, none),
			ratio("CPU of a refresh with 1,000,000 policies due, over 10,000", 1.3, none),
		}, run: (*bench).refreshes},
		{name: "connections", targets: []target{
			{what: "connections served at once", must: 10_000, aim: none, atLeast: true},
		}, run: (*bench).connectionsServed},
		{name: "ten-million", targets: append(growth(s.domains),
			target{what: "p99.9 at 2,000 questions a second of most", unit: "ms", must: 5, aim: none, digits: 2},
			target{what: "echo's p99.9 meanwhile", unit: "ms", must: none, aim: none, digits: 2},
		), run: (*bench).tenMillion},
	}
}

// growth are the targets of a question that is asked for ever more remembered domains, compared with the fewest.
func growth(remembered []int) (all []target) {
	few := thousands(strconv.Itoa(remembered[0]))
	for _, n := range remembered[1:] {
		all = append(all, target{what: fmt.Sprintf("CPU per question with %s remembered domains, over %s",
			thousands(strconv.Itoa(n)), few), must: 1.3, aim: math.NaN(), digits: 2})
	}
	for _, n := range remembered[1:] {
		all = append(all, target{what: fmt.Sprintf("memory for each of %s remembered domains after the first %s",
			thousands(strconv.Itoa(n)), few), unit: "B", must: math.NaN(), aim: math.NaN()})
	}
	return all
}

// withoutLimits returns the row for a daemon that has no target to meet.
func (r row) withoutLimits() row {
	r.targets = slices.Clone(r.targets)
	for i := range r.targets {
		r.targets[i].must, r.targets[i].aim = math.NaN(), math.NaN()
	}
	return r
}

func rowNames() []string {
	var all []string
	for _, r := range rows(fullSizes()) {
		all = append(all, r.name)
	}
	return all
}
