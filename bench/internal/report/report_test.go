// SPDX-License-Identifier: MIT

package report

import (
	"math"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	file := replace("", "one", "## one\n\nold")
	file = replace(file, "two", "## two\n\nsecond\n")
	file = replace(file, "one", "## one\n\nnew\n")
	if want := header + "\n## one\n\nnew\n\n## two\n\nsecond\n"; file != want {
		t.Errorf("got:\n%s\nwant:\n%s", file, want)
	}
}

func TestSection(t *testing.T) {
	s := Section{Title: "title", Command: "go run .", About: "about", Head: []string{"a", "b"}, Rows: [][]string{{"x", "1"}}}
	got := s.String()
	for _, want := range []string{"## title\n", "| a | b |\n| --- | ---: |\n| x | 1 |\n", "`go run .`\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("got:\n%s\nwant in it: %q", got, want)
		}
	}
}

func TestStats(t *testing.T) {
	xs := []float64{4, 1, 3, 2}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"median", Median(xs), 2.5},
		{"median of one", Median(xs[:1]), 4},
		{"p50", Quantile(xs, 0.5), 2},
		{"p99", Quantile(xs, 0.99), 4},
		{"p0", Quantile(xs, 0), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) || !math.IsNaN(Quantile(nil, 0.5)) {
		t.Error("of nothing: got a number, want NaN")
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Number(0), "0"},
		{Number(1234.5), "1234"},
		{Number(12.34), "12.3"},
		{Number(0.129), "0.13"},
		{Spread(nil), "–"},
		{Spread([]float64{3, 3}), "3"},
		{Spread([]float64{1, 5, 2}), "2 (1–5)"},
		{Ratio([]float64{3}, []float64{2}), "1.50×"},
		{Ratio([]float64{3}, nil), "–"},
		{short("v0.2.3"), "v0.2.3"},
		{short("v0.0.0-20170704170343-bf58d8a43e7b"), "v0.0.0-20170704"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
