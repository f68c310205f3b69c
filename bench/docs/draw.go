// SPDX-License-Identifier: MIT

package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-analyze/charts"
)

// The subjects of the picture, as the results name them.
var subjects = []string{
	"this library", "Server.Shutdown", "tylerb/graceful v1.2.15", "ory/graceful v0.1.3", "oklog/run v1.2.0",
}

const (
	width      = 760
	lostHeight = 230
	timeHeight = 370
)

// draw makes the picture of README.md as SVG.
func draw(results string, dark bool) ([]byte, error) {
	theme := charts.GetTheme(charts.ThemeLight)
	if dark {
		theme = charts.GetTheme(charts.ThemeDark)
	}
	p := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: width, Height: lostHeight + timeHeight,
	}, charts.PainterThemeOption(theme))
	p.FilledRect(0, 0, width, lostHeight+timeHeight, theme.GetBackgroundColor(), theme.GetBackgroundColor(), 0)

	lost := chart{
		title:   "Requests lost in one stop, HTTP/1.1, 20 keep-alive clients",
		section: "Requests lost in a stop, HTTP/1.1",
		columns: []string{"lost a stop"},
		box:     charts.NewBox(0, 0, width, lostHeight),
	}
	time := chart{
		title:   "Milliseconds that a stop takes after the last response",
		section: "Time until the stop is over",
		columns: []string{"request, p50", "silent, p50", "HTTP/2, p50"},
		legend:  []string{"after a request      ", "a silent connection      ", "an idle HTTP/2 client"},
		box:     charts.NewBox(0, lostHeight, width, lostHeight+timeHeight),
	}
	for _, c := range []chart{lost, time} {
		if err := c.draw(p, results, theme); err != nil {
			return nil, err
		}
	}
	return p.Bytes()
}

// A chart shows columns of a section as bars, one group for each subject.
type chart struct {
	title   string
	section string
	columns []string
	legend  []string
	box     charts.Box
}

func (c *chart) draw(p *charts.Painter, results string, theme charts.ColorPalette) error {
	t, err := findTable(results, c.section)
	if err != nil {
		return err
	}
	values := make([][]float64, len(c.columns))
	for i, column := range c.columns {
		for _, subject := range subjects {
			n, err := t.number(subject, column)
			if err != nil {
				return err
			}
			values[i] = append(values[i], n)
		}
		slices.Reverse(values[i]) // the first one is drawn at the bottom
	}
	var labels []string
	for _, subject := range slices.Backward(subjects) {
		name, _, _ := strings.Cut(subject, " v") // without its version
		labels = append(labels, name+"   ")      // room for fonts wider than the one that the library measures
	}

	opt := charts.NewBarChartOptionWithData(values)
	opt.Horizontal = true
	opt.Theme = theme
	opt.Padding = charts.NewBoxEqual(16)
	opt.Padding.Right = 70 // for the longest bar's number
	opt.Title.Text = c.title
	opt.Title.FontStyle.FontSize = 13
	opt.CategoryAxis.Labels = labels
	opt.CategoryAxis.LabelFontStyle.FontSize = 11
	opt.Legend.SeriesNames = c.legend
	opt.Legend.FontStyle.FontSize = 10
	opt.Legend.Offset = charts.OffsetStr{Top: "24", Left: charts.PositionLeft}
	opt.ValueAxis = []charts.ValueAxisOption{{Show: charts.Ptr(false)}}
	for i := range opt.SeriesList {
		opt.SeriesList[i].Label.Show = charts.Ptr(true)
		opt.SeriesList[i].Label.FontStyle.FontSize = 10
		opt.SeriesList[i].Label.ValueFormatter = func(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }
	}
	return p.Child(charts.PainterBoxOption(c.box)).BarChart(opt)
}
