// SPDX-License-Identifier: MIT

package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Measurement makes one section.
type Measurement struct {
	Name string
	Run  func() (*Section, error)
}

// Measurements are those of one program.
type Measurements []Measurement

// Names lists them, separated by commas.
func (ms Measurements) Names() string {
	names := make([]string, len(ms))
	for i, m := range ms {
		names[i] = m.Name
	}
	return strings.Join(names, ",")
}

// Run runs those in only, a list like that of Names, or all if it is empty. The
// sections go to w and, if file is not empty, into that. Program is the folder
// of the program.
func (ms Measurements) Run(w io.Writer, program, only, file string) error {
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if only != "" && !slices.ContainsFunc(ms, func(m Measurement) bool { return m.Name == name }) {
			return fmt.Errorf("-only: there is no measurement %q; there are %s", name, ms.Names())
		}
	}
	for _, m := range ms {
		if only != "" && !slices.Contains(wanted, m.Name) {
			continue
		}
		section, err := m.Run()
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		section.Command = fmt.Sprintf("go run ./%s -only %s", program, m.Name)
		fmt.Fprintf(w, "%s\n", section)
		if file == "" {
			continue
		}
		if err := section.Save(file); err != nil {
			return err
		}
	}
	return nil
}
