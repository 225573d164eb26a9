// The fields of a postal address, for the checkout and the address book.

import { el } from "./dom.js";
import { field } from "./forms.js";

const COUNTRIES = [
  "AT", "AU", "BE", "BG", "CA", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR", "HU", "IE", "IS",
  "IT", "JP", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "NZ", "PL", "PT", "RO", "SE", "SI", "SK", "US",
];

/** The fields; their names are those of the API. `prefix` keeps the ids apart on one page. */
export function addressFields(address = {}, prefix = "") {
  const part = (name, label, attributes) =>
    field({ label, name, id: `${prefix}${name}`, value: address[name], ...attributes });
  return el("div", { class: "fields address" },
    part("recipient", "Full name", { autocomplete: "shipping name", maxlength: "100" }),
    part("street", "Street and number", { autocomplete: "shipping street-address", maxlength: "200" }),
    el("div", { class: "fields pair" },
      part("postalCode", "Postal code", { autocomplete: "shipping postal-code", maxlength: "20" }),
      part("city", "Town", { autocomplete: "shipping address-level2", maxlength: "100" })),
    part("regionCode", "Country", {
      autocomplete: "shipping country", options: countries(address.regionCode), value: address.regionCode ?? home(),
    }));
}

/** An address as one line. */
export const oneLine = ({ recipient, street, postalCode, city, regionCode }) =>
  [recipient, street, `${postalCode} ${city}`, countryName(regionCode)].join(", ");

function countries(other) {
  const codes = !other || COUNTRIES.includes(other) ? COUNTRIES : [...COUNTRIES, other];
  return codes.map((code) => [code, countryName(code)]).sort(([, one], [, two]) => one.localeCompare(two));
}

/** The country of the browser's language, if we know it. */
function home() {
  const region = navigator.language.split("-")[1] ?? "";
  return COUNTRIES.includes(region) ? region : "DE";
}

function countryName(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "region" }).of(code) ?? code;
  } catch {
    return code;
  }
}
