// SPDX-License-Identifier: MIT

//go:build !linux

package inspect

func (f *Facts) readInit() { f.unknown("PID 1 (no /proc as on Linux)") }

func (f *Facts) readRest() { f.unknown("all that Linux keeps in /proc") }

func mountedNoexec(string) bool { return false }
