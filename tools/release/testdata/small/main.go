// SPDX-License-Identifier: Apache-2.0

// Command small stands in for programs of images in tests.
package main

func main() {}
