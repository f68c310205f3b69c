// SPDX-License-Identifier: MIT

// Command plain imports nothing.
package main

func main() { select {} }
