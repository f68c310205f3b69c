//go:build !linux

package pid1

func (e *Environment) readInit() { e.unknown("PID 1 (no /proc as on Linux)") }

func (e *Environment) inspectRest() { e.unknown("all that Linux keeps in /proc") }
