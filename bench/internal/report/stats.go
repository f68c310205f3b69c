// SPDX-License-Identifier: MIT

package report

import (
	"fmt"
	"math"
	"slices"
)

// Quantile is the q-quantile of xs, by nearest rank, or NaN of none.
func Quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(xs))
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[max(i, 0)]
}

// Median is the middle of xs, or the mean of the middle two.
func Median(xs []float64) float64 {
	n := len(xs)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(xs))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Spread shows the rounds of a measurement: median, and minimum to maximum.
func Spread(xs []float64) string {
	switch {
	case len(xs) == 0:
		return "–"
	case len(xs) == 1 || slices.Min(xs) == slices.Max(xs):
		return Number(xs[0])
	}
	return fmt.Sprintf("%s (%s–%s)", Number(Median(xs)), Number(slices.Min(xs)), Number(slices.Max(xs)))
}

// Ratio shows how the median of xs stands to the median of base, in times.
func Ratio(xs, base []float64) string {
	r := Median(xs) / Median(base)
	if math.IsNaN(r) || math.IsInf(r, 0) {
		return "–"
	}
	return fmt.Sprintf("%.2f×", r)
}

// Number shows x with about three digits.
func Number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x == math.Trunc(x) || math.Abs(x) >= 100:
		return fmt.Sprintf("%.0f", x)
	case math.Abs(x) >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
