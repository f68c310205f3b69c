// SPDX-License-Identifier: MIT

package report

import "strings"

// Figures are what one round of a measurement found.
type Figures map[string]float64

// Results are the figures of each subject, a value a round.
type Results map[string]map[string][]float64

// Add adds the figures of a round.
func (r Results) Add(subject string, f Figures) {
	if r[subject] == nil {
		r[subject] = map[string][]float64{}
	}
	for name, value := range f {
		r[subject][name] = append(r[subject][name], value)
	}
}

// Table makes a row of every subject in r, in the order of names.
func (r Results) Table(names []string, title func(string) string, cells func(map[string][]float64) []string) [][]string {
	var rows [][]string
	for _, name := range names {
		if rounds := r[name]; rounds != nil {
			rows = append(rows, append([]string{title(name)}, cells(rounds)...))
		}
	}
	return rows
}

// Sum is the sum of xs.
func Sum(xs []float64) (total float64) {
	for _, x := range xs {
		total += x
	}
	return total
}

// List shows every round.
func List(xs []float64) string {
	texts := make([]string, len(xs))
	for i, x := range xs {
		texts[i] = Number(x)
	}
	return strings.Join(texts, ", ")
}
