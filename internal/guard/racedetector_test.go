// SPDX-License-Identifier: Apache-2.0

//go:build race

package guard

// Under the race detector ten million addresses would take half a minute.
func init() { memoryAddresses = 500_000 }
