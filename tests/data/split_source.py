#!/usr/bin/python3
"""The Chicago records by the agency that wrote them (`Source`): one CSV a branch, chicago-1.csv to chicago-4.csv.

The agencies overlap: many sites are known to several of them. Rows and cells stay as they are; the label column `True Id` is left
out, since it is for measuring only. Usage: split_source.py FILE FOLDER"""
import csv
import os
import sys

BRANCHES = [
    ["CPS_Early_Childhood_Portal_scrape.csv"],
    ["chapin_dfss_providers_2011_070212.csv", "DFSS_AgencySiteLies_2012.csv"],
    ["ECE Chicago Find a School scrape.csv"],
    ["purple_binder_early_childhood.csv", "NAEYC_accreditation.csv", "IDHS_child_care_provider_list.csv",
     "chapin_ounce_providers_2011_071112.csv", "Ounce of Prevention - Site Locations.csv"],
]


def main(path, folder):
    with open(path, encoding="utf-8", newline="") as source:
        rows = list(csv.reader(source))
    header, rows = rows[0], rows[1:]
    label, agency = header.index("True Id"), header.index("Source")
    for number, agencies in enumerate(BRANCHES, 1):
        with open(os.path.join(folder, f"chicago-{number}.csv"), "w", encoding="utf-8", newline="") as out:
            write = csv.writer(out).writerow
            write(header[:label] + header[label + 1:])
            for row in rows:
                if row[agency] in agencies:
                    write(row[:label] + row[label + 1:])


main(*sys.argv[1:])
