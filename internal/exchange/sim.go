// SPDX-License-Identifier: Apache-2.0

package exchange

// SimSource is the source of a simulated market.
const SimSource = "SIM"
