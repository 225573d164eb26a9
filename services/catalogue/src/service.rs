//! The generated trait: check the request, ask the store, answer.

use contracts::{
    google::api::HttpBody,
    sockshop::catalogue::v1::{
        BatchGetVariantsRequest, BatchGetVariantsResponse, Category, GetPictureRequest,
        GetPictureResponse, GetProductRequest, GetProductResponse, ListCategoriesRequest,
        ListCategoriesResponse, ListProductsRequest, ListProductsResponse, Product, Variant,
        catalogue_service_server::CatalogueService,
    },
};
use service_kit::{
    Money,
    paging::{Page, Sizes},
    status, time, validate,
};
use tonic::{Request, Response, Status};

use crate::{
    picture::{self, Pattern},
    query,
    store::{self, FullProduct, Store, VariantRow},
};

const PAGES: Sizes = Sizes {
    default: 24,
    max: 100,
};

/// Answers from a store.
#[derive(Debug)]
pub struct Catalogue {
    store: Store,
}

impl Catalogue {
    /// Answers from `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl CatalogueService for Catalogue {
    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let terms =
            query::parse_filter(&request.filter).map_err(|why| status::invalid("filter", why))?;
        let order = query::parse_order(&request.order_by)
            .map_err(|why| status::invalid("order_by", why))?;
        let page = Page::new(
            request.page_size,
            &request.page_token,
            &[&request.filter, &request.order_by],
            PAGES,
        )?;
        let (rows, total) = self
            .store
            .list(&terms, order, page.after()?, page.limit())
            .await?;
        let (rows, next_page_token) = page.finish(rows, |row| store::position(order, &row.product));
        Ok(Response::new(ListProductsResponse {
            products: rows.into_iter().map(product).collect::<Result<_, _>>()?,
            next_page_token,
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
        }))
    }

    async fn get_product(
        &self,
        request: Request<GetProductRequest>,
    ) -> Result<Response<GetProductResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let found = self.store.product(id_of(&request.name)).await?;
        let found = found.ok_or_else(|| status::not_found(&request.name))?;
        Ok(Response::new(GetProductResponse {
            product: Some(product(found)?),
        }))
    }

    async fn get_picture(
        &self,
        request: Request<GetPictureRequest>,
    ) -> Result<Response<GetPictureResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let pattern = self.store.pattern(id_of(&request.name)).await?;
        let pattern = pattern.ok_or_else(|| status::not_found(&request.name))?;
        let pattern: Pattern = serde_json::from_str(&pattern).map_err(|error| {
            tracing::error!(%error, product = request.name, "stored pattern is broken");
            status::internal()
        })?;
        Ok(Response::new(GetPictureResponse {
            picture: Some(HttpBody {
                content_type: "image/svg+xml".into(),
                data: picture::svg(&pattern).into_bytes(),
                extensions: Vec::new(),
            }),
        }))
    }

    async fn list_categories(
        &self,
        _request: Request<ListCategoriesRequest>,
    ) -> Result<Response<ListCategoriesResponse>, Status> {
        let rows = self.store.categories().await?;
        let categories = rows.into_iter().map(|(id, title, count)| Category {
            id,
            title,
            product_count: i32::try_from(count).unwrap_or(i32::MAX),
        });
        Ok(Response::new(ListCategoriesResponse {
            categories: categories.collect(),
        }))
    }

    async fn batch_get_variants(
        &self,
        request: Request<BatchGetVariantsRequest>,
    ) -> Result<Response<BatchGetVariantsResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let mut products: Vec<&str> = request.names.iter().map(|name| id_of(name)).collect();
        products.sort_unstable();
        products.dedup();
        let known = self.store.variants(&products).await?;
        let variants = request.names.iter().map(|name| {
            let found = known.iter().find(|row| variant_name(row) == *name);
            found
                .ok_or_else(|| status::not_found(name))
                .and_then(variant)
        });
        Ok(Response::new(BatchGetVariantsResponse {
            variants: variants.collect::<Result<_, _>>()?,
        }))
    }
}

/// `argyle` of `products/argyle` and of `products/argyle/variants/m`; validated before.
fn id_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

fn variant_name(row: &VariantRow) -> String {
    format!("products/{}/variants/{}", row.product_id, row.id)
}

fn product(full: FullProduct) -> Result<Product, Status> {
    let FullProduct {
        product,
        categories,
        variants,
    } = full;
    let name = format!("products/{}", product.id);
    Ok(Product {
        picture_uri: format!("/v1/{name}/picture"),
        name,
        title: product.title,
        description: product.description,
        categories,
        variants: variants.iter().map(variant).collect::<Result<_, _>>()?,
        lowest_price: Some(price(product.lowest_price, &product.currency)?),
        create_time: Some(time::to_timestamp(product.create_time)),
    })
}

fn variant(row: &VariantRow) -> Result<Variant, Status> {
    Ok(Variant {
        name: variant_name(row),
        title: row.title.clone(),
        size: row.size.clone(),
        color: row.color.clone(),
        price: Some(price(row.price, &row.currency)?),
    })
}

fn price(minor: i64, currency: &str) -> Result<contracts::google::r#type::Money, Status> {
    let money = Money::from_stored(minor, currency).map_err(|error| {
        tracing::error!(%error, "stored price is broken");
        status::internal()
    })?;
    Ok(money.to_message())
}
