"""``nset mpps``: an SCP for Modality Performed Procedure Step (PS3.4 Annex F) that keeps reports.

=================  ===================================================================
`rules`            what N-CREATE and N-SET must and may have: one table
`merging`          a step and a list for it, put together
`steps`            a performed procedure step, and what a report makes of it
`store`            where steps are kept: what both databases share, the schema
`sqlite`           a store in a file of SQLite
`postgresql`       a store in PostgreSQL
`stores`           the store of a URL
`writer`           many reports in one transaction
`notify`           N-EVENT-REPORT to subscribers
`server`           the AE and its handlers
`addresses`        host and port of the command line
`printing`         what the log and a terminal get to see of what a peer has sent
`cli`              the command line
=================  ===================================================================
"""
