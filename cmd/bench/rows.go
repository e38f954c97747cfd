package main

import (
	"context"
	"math"
	"slices"
	"strconv"
)

// row is one or more lines of the table.
type row struct {
	name    string
	rivals  bool // the rival can be measured too
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
		{"live", true, []target{
			ratio("live policy, 100 connections, unix: CPU over echo's", 1.15, 1),
			ratio("live policy, 100 connections, tcp: CPU over echo's", 1.10, 1),
		}, (*bench).live},
		{"absent", true, []target{
			ratio("remembered NOTFOUND, 100 connections, unix: CPU over echo's", 1.15, 1),
			ratio("remembered NOTFOUND, 100 connections, tcp: CPU over echo's", 1.10, 1),
		}, (*bench).absent},
		{"allocations", false, []target{
			{what: "allocations for a live policy", must: 0, aim: none, digits: 1},
		}, (*bench).allocationsPerQuestion},
		{"cold", true, []target{
			{what: "cold, 20 ms away, 100 connections, 5 % with a policy: p50", unit: "ms", must: 24, aim: 21,
				digits: 1},
			{what: "cold: CPU per lookup", unit: "us", must: 150, aim: 80},
			{what: "cold: DNS queries per 5,000 names", must: 5500, aim: none},
		}, (*bench).coldLookups},
		{"warm", true, []target{
			{what: "warm p99 beside unbounded misses, over echo's beside the same", must: 2, aim: 1.2, digits: 2},
		}, (*bench).warmBesideMisses},
		{"negatives", true, []target{
			{what: "resident memory for a domain without a policy", unit: "B", must: 45, aim: none},
		}, (*bench).memoryOfNegatives},
		{"policies", false, []target{
			{what: "resident memory for an enforce policy in use", unit: "B", must: 550, aim: none},
		}, (*bench).memoryOfPolicies},
		{"start", false, []target{
			{what: "first answer with 10,000 stored policies, over one", unit: "ms", must: 3, aim: none, digits: 1},
			{what: "first answer with 1,000,000 stored policies, over one", unit: "ms", must: 20, aim: none, digits: 1},
		}, (*bench).firstAnswer},
		{"connections", false, []target{
			{what: "connections served at once", must: 10_000, aim: none, atLeast: true},
		}, (*bench).connectionsServed},
		{"ten-million", false, []target{
			ratio("CPU per question with "+thousands(strconv.Itoa(s.many))+" remembered domains, over 1,000", 1.3, 1.1),
			{what: "p99.9 at 2,000 questions a second of them", unit: "ms", must: 5, aim: none, digits: 2},
			{what: "echo's p99.9 meanwhile", unit: "ms", must: none, aim: none, digits: 2},
		}, (*bench).tenMillion},
	}
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
