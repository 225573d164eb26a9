// Amounts in minor units. The API sends google.type.Money, whose zero parts are left out.

const NANOS_PER_CENT = 10_000_000;

/** An amount of the API in cents. */
export function cents(money) {
  return Number(money?.units ?? 0) * 100 + Math.round((money?.nanos ?? 0) / NANOS_PER_CENT);
}

/** Cents as people read them, such as `€12.50`. */
export function format(amount, currency = "EUR") {
  return new Intl.NumberFormat("en-IE", { style: "currency", currency }).format(amount / 100);
}

/** An amount of the API as people read it. */
export const shown = (money) => format(cents(money), money?.currencyCode || "EUR");
