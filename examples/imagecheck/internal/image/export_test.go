// SPDX-License-Identifier: MIT

package image

// Limits lowers the limits until undo is called.
func Limits(entries, names int) (undo func()) {
	e, n := maxEntries, maxNames
	maxEntries, maxNames = entries, names
	return func() { maxEntries, maxNames = e, n }
}
